// The editor: CodeMirror with what a block of Python needs. Loaded at the first Edit.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import {
  bracketMatching,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { drawSelection, EditorView, highlightSpecialChars, keymap } from "@codemirror/view";
import { tags } from "@lezer/highlight";

export interface Editor {
  readonly dom: HTMLElement;
  code(): string;
  setCode(code: string): void;
  /** Take the keyboard, with the last `selected` in the code selected, if there is one. */
  focus(selected?: string): void;
  destroy(): void;
}

// The colours that the page has for the same things.
const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--md-code-hl-keyword-color)" },
  { tag: tags.operator, color: "var(--md-code-hl-operator-color)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--md-code-hl-string-color)" },
  { tag: tags.number, color: "var(--md-code-hl-number-color)" },
  { tag: [tags.bool, tags.null], color: "var(--md-code-hl-constant-color)" },
  { tag: tags.comment, color: "var(--md-code-hl-comment-color)" },
  {
    tag: [tags.function(tags.definition(tags.variableName)), tags.definition(tags.className)],
    color: "var(--md-code-hl-function-color)",
  },
]);

export function openEditor(
  code: string,
  label: string,
  changed: (code: string) => void,
  run: () => void,
): Editor {
  const view = new EditorView({
    state: EditorState.create({
      doc: code,
      extensions: [
        keymap.of([
          {
            key: "Mod-Enter",
            run: () => {
              run();
              return true;
            },
          },
          indentWithTab,
          ...defaultKeymap,
          ...historyKeymap,
        ]),
        history(),
        highlightSpecialChars(),
        drawSelection(),
        indentOnInput(),
        indentUnit.of("    "),
        bracketMatching(),
        python(),
        syntaxHighlighting(colours),
        EditorView.contentAttributes.of({
          "aria-label": `${label}. Control and Enter runs it; Escape, then Tab, leaves it.`,
          spellcheck: "false",
        }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) changed(update.state.doc.toString());
        }),
      ],
    }),
  });
  return {
    dom: view.dom,
    code: () => view.state.doc.toString(),
    setCode: (text) =>
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } }),
    focus: (selected) => {
      const at = selected ? view.state.doc.toString().lastIndexOf(selected) : -1;
      if (selected && at >= 0) {
        view.dispatch({ selection: { anchor: at, head: at + selected.length } });
      }
      view.focus();
    },
    destroy: () => view.destroy(),
  };
}
