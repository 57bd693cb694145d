r"""LaTeX to MathML, for the commands in the tables below and no others.

A browser draws MathML by itself, so a page with maths needs no script and no request. Whatever is
not in the tables raises `LatexError`: a formula looks as it was meant, or the build stops.
"""

from __future__ import annotations

import re
import unicodedata
from xml.etree.ElementTree import Element, SubElement, tostring


def _table(pairs: str) -> dict[str, str]:
    words = pairs.split()
    return dict(zip(words[::2], words[1::2], strict=True))


IDENTIFIERS = _table(r"""
    \alpha α \beta β \gamma γ \delta δ \epsilon ϵ \varepsilon ε \zeta ζ \eta η \theta θ \kappa κ
    \lambda λ \mu μ \nu ν \xi ξ \pi π \rho ρ \sigma σ \tau τ \phi ϕ \varphi φ \chi χ \psi ψ \omega ω
    \Gamma Γ \Delta Δ \Theta Θ \Lambda Λ \Pi Π \Sigma Σ \Phi Φ \Psi Ψ \Omega Ω
    \ell ℓ \infty ∞ \partial ∂ \nabla ∇ \top ⊤ \emptyset ∅
    \ldots … \dots … \cdots ⋯ \vdots ⋮ \ddots ⋱ \% % \# # \& & \$ $ \_ _
""")
OPERATORS = _table(r"""
    + + - − * ∗ = = < < > > / / , , ; ; : : ! ! . .
    \cdot ⋅ \times × \odot ⊙ \oplus ⊕ \otimes ⊗ \circ ∘ \pm ± \div ÷ \setminus ∖
    \le ≤ \leq ≤ \ge ≥ \geq ≥ \ne ≠ \neq ≠ \ll ≪ \gg ≫ \approx ≈ \sim ∼ \equiv ≡ \propto ∝ \mid ∣
    \in ∈ \notin ∉ \subset ⊂ \subseteq ⊆ \cup ∪ \cap ∩ \land ∧ \lor ∨ \lnot ¬ \forall ∀ \exists ∃
    \to → \rightarrow → \gets ← \leftarrow ← \Rightarrow ⇒ \Leftrightarrow ⇔ \mapsto ↦ \colon :
    \implies ⟹ \iff ⟺ \star ⋆ \bullet ∙ \perp ⊥ \bmod mod
    \sum ∑ \prod ∏ \int ∫ \bigcup ⋃
""")
# The sums and products: their limits stand above and below in a formula on a line of its own.
LIMITS = frozenset("∑∏⋃")
FUNCTIONS = _table(r"""
    \log log \ln ln \exp exp \sin sin \cos cos \tan tan \tanh tanh \arg arg \det det \dim dim \Pr Pr
""")
LIMIT_FUNCTIONS = _table(r"\max max \min min \sup sup \inf inf \lim lim")
SPACES = _table(r"""
    \! -0.1667em \, 0.1667em \: 0.2222em \; 0.2778em \quad 1em \qquad 2em
""") | {"\\ ": "0.25em", "~": "0.25em"}
OPENING = _table(r"( ( [ [ \{ { \lfloor ⌊ \lceil ⌈ \langle ⟨ \lvert | \lVert ‖")
CLOSING = _table(r") ) ] ] \} } \rfloor ⌋ \rceil ⌉ \rangle ⟩ \rvert | \rVert ‖")
BARS = _table(r"| | \vert | \| ‖ \Vert ‖")
SIZES = _table(r"\big 1.2em \Big 1.8em \bigg 2.4em \Bigg 3em")
ACCENTS = _table(r"\hat ^ \tilde ~ \bar ¯ \vec → \dot ˙")
BRACES = _table(r"\underbrace ⏟ \overbrace ⏞")
ALPHABETS = {
    r"\mathbf": "BOLD",
    r"\boldsymbol": "BOLD ITALIC",
    r"\mathcal": "SCRIPT",
    r"\mathbb": "DOUBLE-STRUCK",
}
FRACTIONS = {r"\frac": None, r"\dfrac": "true", r"\tfrac": "false"}
STYLES = {r"\displaystyle": "true", r"\textstyle": "false"}
ENVIRONMENTS = {
    "matrix": ("", ""),
    "bmatrix": ("[", "]"),
    "pmatrix": ("(", ")"),
    "vmatrix": ("|", "|"),
    "cases": ("{", ""),
    "aligned": ("", ""),
}

# A command that takes plain text is one token with its text, whose spaces count.
TOKEN = re.compile(
    r"(\\text|\\texttt|\\mathrm|\\operatorname\*?|\\begin|\\end)\s*\{([^{}$]*)\}"
    r"|(\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[^\s])"
)
THIN_SPACE = SPACES[r"\,"]


class LatexError(ValueError):
    """A formula that cannot be converted; the message gives the formula and the reason."""


def latex_to_mathml(latex: str, *, display: bool = False) -> Element:
    r"""Convert a formula to a `<math>` element.

    Args:
        latex: The formula, without its dollar signs.
        display: Whether the formula stands on a line of its own.
    Returns:
        The element, to be placed in a page.
    Raises:
        LatexError: If a command is unknown, or braces or environments do not match.
    """
    math = Element("math", {"display": "block"} if display else {})
    math.append(_Parser(latex.strip()).formula())
    return math


def mathml_text(latex: str, *, display: bool = False) -> str:
    """Convert a formula to the HTML text of a `<math>` element."""
    return tostring(latex_to_mathml(latex, display=display), encoding="unicode", method="html")


def _leaf(tag: str, text: str, **attributes: str) -> Element:
    element = Element(tag, attributes)
    element.text = text
    return element


def _row(nodes: list[Element]) -> Element:
    if len(nodes) == 1:
        return nodes[0]
    row = Element("mrow")
    row.extend(nodes)
    return row


def _in_alphabet(letter: str, alphabet: str) -> str:
    """Name the letter in a mathematical alphabet: R in DOUBLE-STRUCK is ℝ."""
    kind = re.sub("^(LATIN|GREEK) | LETTER", "", unicodedata.name(letter))
    # Unicode had some of these letters before it had the alphabets, under shorter names.
    for name in (f"MATHEMATICAL {alphabet} {kind}", f"{alphabet} {kind}"):
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    raise KeyError(letter)


class _Parser:
    """One pass over the tokens of a formula; each method consumes the tokens that it converts."""

    def __init__(self, latex: str) -> None:
        self.latex = latex
        self.tokens = [(match[1] or match[3], match[2] or "") for match in TOKEN.finditer(latex)]
        self.at = 0

    def error(self, reason: str) -> LatexError:
        return LatexError(f"the formula ${self.latex}$: {reason}")

    @property
    def token(self) -> str:
        """The next token; empty at the end of the formula."""
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.token
        if not token:
            raise self.error("it ends too early")
        self.at += 1
        return token

    def expect(self, wanted: str) -> None:
        found = self.token or "its end"
        if found != wanted:
            raise self.error(f"expected {wanted}, found {found}")
        self.at += 1

    def formula(self) -> Element:
        if not self.tokens:
            raise self.error("it is empty")
        nodes = self.nodes(until=("",))
        return _row(nodes)

    def nodes(self, until: tuple[str, ...]) -> list[Element]:
        """Convert up to one of the tokens in `until`, which stays."""
        nodes: list[Element] = []
        while self.token not in until:
            if not self.token:
                raise self.error(f"{until[0]} is missing")
            if self.token in STYLES:  # holds to the end of the group
                style = Element("mstyle", displaystyle=STYLES[self.take()])
                style.extend(self.nodes(until))
                nodes.append(style)
                break
            nodes.append(self.scripted(nodes[-1] if nodes else None))
        return nodes

    def group(self) -> Element:
        """Convert an argument: `{...}`, or a single token."""
        if self.token != "{":
            if self.token[:-1].isdigit():  # TeX would read `x^12` as x to the 1, times 2
                raise self.error(f"write {{{self.token}}} for {self.token}")
            return self.atom(None)
        self.at += 1
        nodes = self.nodes(until=("}",))
        self.at += 1
        row = _row(nodes)
        if row.tag == "mo":  # `1{,}024`: braces take an operator's spaces away
            row.attrib |= {"lspace": "0", "rspace": "0"}
        return row

    def scripted(self, before: Element | None) -> Element:
        """Convert an atom with its subscript, superscript and primes."""
        base = Element("mrow") if self.token in ("_", "^", "'") else self.atom(before)
        scripts: dict[str, Element] = {}
        while self.token in ("_", "^", "'"):
            sign = self.take()
            script = _leaf("mo", "′") if sign == "'" else self.group()
            for operator in script.iter("mo"):  # as in print: `i=1` under a sum has no spaces
                operator.attrib |= {"lspace": "0", "rspace": "0"}
            sign = "_" if sign == "_" else "^"
            if sign in scripts:
                raise self.error(f"two {sign} on one base")
            scripts[sign] = script
        if not scripts:
            return base
        limits = base.get("movablelimits") == "true" or base.tag in ("munder", "mover")
        under, over = ("under", "over") if limits else ("sub", "sup")
        tag = "m" + under * ("_" in scripts) + over * ("^" in scripts)
        element = Element(tag)
        element.append(base)
        element.extend(scripts[sign] for sign in "_^" if sign in scripts)
        return element

    def atom(self, before: Element | None) -> Element:
        """Convert the next atom. `before` decides whether a minus sign has a left operand."""
        token = self.take()
        text = self.tokens[self.at - 1][1]
        if token == "{":
            self.at -= 1
            return self.group()
        if token in IDENTIFIERS:
            return _leaf("mi", IDENTIFIERS[token])
        if token[0].isdigit():
            return _leaf("mn", token)
        if token.isascii() and token.isalpha():
            return _leaf("mi", token)
        if token in OPERATORS:
            return self.operator(OPERATORS[token], before)
        if token in OPENING:
            return _leaf("mo", OPENING[token], stretchy="false", form="prefix")
        if token in CLOSING:
            return _leaf("mo", CLOSING[token], stretchy="false", form="postfix")
        if token in BARS:
            return _leaf("mo", BARS[token], stretchy="false", lspace="0", rspace="0")
        if token in FUNCTIONS:
            return self.function(FUNCTIONS[token], before, limits=False)
        if token in LIMIT_FUNCTIONS:
            return self.function(LIMIT_FUNCTIONS[token], before, limits=True)
        if token in (r"\operatorname", r"\operatorname*"):
            return self.function(text.replace(r"\,", "\u2009"), before, limits=token.endswith("*"))
        if token == r"\mathrm":
            return _leaf("mi", text, mathvariant="normal")
        if token in (r"\text", r"\texttt"):
            leaf = _leaf("mtext", text.replace(" ", "\u00a0"))
            if token == r"\texttt":
                leaf.set("class", "tt")
            return leaf
        if token in SPACES:
            return Element("mspace", width=SPACES[token])
        if token in FRACTIONS:
            return self.fraction(FRACTIONS[token])
        if token == r"\sqrt":
            return self.root()
        if token in ACCENTS:
            element = Element("mover", accent="true")
            element.append(self.group())
            element.append(_leaf("mo", ACCENTS[token], stretchy="false"))
            return element
        if token in BRACES:
            element = Element("munder" if token == r"\underbrace" else "mover")
            element.append(self.group())
            element.append(_leaf("mo", BRACES[token], stretchy="true"))
            return element
        if token in ALPHABETS:
            return self.alphabet(token)
        if token == r"\left":
            return self.fenced()
        if token.rstrip("lr") in SIZES:
            return self.sized(token)
        if token == r"\begin":
            return self.environment(text)
        raise self.error(f"unknown command {token}")

    def operator(self, sign: str, before: Element | None) -> Element:
        element = _leaf("mo", sign)
        if sign in LIMITS:
            element.set("movablelimits", "true")
        opens = before is None or (before.tag == "mo" and before.get("form") != "postfix")
        if sign in "+−±" and opens:
            element.set("form", "prefix")
        if sign == "/":
            element.attrib |= {"lspace": "0", "rspace": "0"}
        return element

    def function(self, name: str, before: Element | None, *, limits: bool) -> Element:
        """Convert a function's name, set off from what it stands between but for a bracket."""
        if not name:
            raise self.error("a function without a name")
        after_operand = before is not None and before.tag not in ("mo", "mspace")
        element = _leaf("mo", name, form="prefix", stretchy="false")
        element.set("lspace", THIN_SPACE if after_operand else "0")
        # What follows the name and its scripts is not known yet, and a script's closing
        # brace is a rare place for a bracket: look past `_x`, `^x`, `_{...}` and `^{...}`.
        element.set("rspace", "0" if self.following() in OPENING else THIN_SPACE)
        if limits:
            element.set("movablelimits", "true")
        return element

    def following(self) -> str:
        """The first token after the scripts that stand next."""
        at, depth = self.at, 0
        tokens = [token for token, _ in self.tokens]
        while at < len(tokens):
            if depth == 0 and tokens[at] in ("_", "^"):
                at += 1
                if at < len(tokens) and tokens[at] != "{":
                    at += 1
                continue
            depth += {"{": 1, "}": -1}.get(tokens[at], 0)
            if depth == 0 and tokens[at] != "}":
                return tokens[at]
            at += 1
        return ""

    def fraction(self, display_style: str | None) -> Element:
        element = Element("mfrac")
        element.extend([self.group(), self.group()])
        if display_style is None:
            return element
        style = Element("mstyle", displaystyle=display_style, scriptlevel="0")
        style.append(element)
        return style

    def root(self) -> Element:
        if self.token != "[":
            element = Element("msqrt")
            element.append(self.group())
            return element
        self.at += 1
        index = _row(self.nodes(until=("]",)))
        self.at += 1
        element = Element("mroot")
        element.extend([self.group(), index])
        return element

    def alphabet(self, command: str) -> Element:
        letters = self.group()
        for leaf in letters.iter():
            if leaf.text:
                try:
                    leaf.text = "".join(_in_alphabet(c, ALPHABETS[command]) for c in leaf.text)
                except KeyError:
                    raise self.error(f"{command} has no {leaf.text}") from None
        return letters

    def delimiter(self, **attributes: str) -> Element | None:
        token = self.take()
        if token == ".":
            return None
        signs = OPENING | CLOSING | BARS
        if token not in signs:
            raise self.error(f"{token} is no delimiter")
        return _leaf("mo", signs[token], **attributes)

    def fenced(self) -> Element:
        left = self.delimiter(stretchy="true", form="prefix")
        inner = self.nodes(until=(r"\right",))
        self.at += 1
        right = self.delimiter(stretchy="true", form="postfix")
        row = Element("mrow")
        row.extend(node for node in (left, *inner, right) if node is not None)
        return row

    def sized(self, token: str) -> Element:
        size = SIZES[token.rstrip("lr")]
        form = "postfix" if token.endswith("r") else "prefix"
        sign = self.delimiter(
            stretchy="true", symmetric="true", form=form, minsize=size, maxsize=size
        )
        if sign is None:
            raise self.error(f"{token} needs a delimiter")
        # Alone in a row: browsers do not stretch the base of a script.
        row = Element("mrow")
        row.append(sign)
        return row

    def environment(self, name: str) -> Element:
        if name not in ENVIRONMENTS:
            raise self.error(f"unknown environment {name}")
        table = Element("mtable", {"class": name})
        row = SubElement(table, "mtr")
        while True:
            cell = SubElement(row, "mtd")
            cell.extend(self.nodes(until=("&", r"\\", r"\end")))
            if self.token == r"\end":
                break
            if self.take() == r"\\":
                if self.token == r"\end":
                    break
                row = SubElement(table, "mtr")
        if self.tokens[self.at][1] != name:
            raise self.error(rf"\begin{{{name}}} meets \end{{{self.tokens[self.at][1]}}}")
        self.at += 1
        left, right = ENVIRONMENTS[name]
        if name == "aligned":
            table.set("displaystyle", "true")
        if not left:
            return table
        fenced = Element("mrow")
        fenced.append(_leaf("mo", left, stretchy="true", form="prefix"))
        fenced.append(table)
        if right:
            fenced.append(_leaf("mo", right, stretchy="true", form="postfix"))
        return fenced
