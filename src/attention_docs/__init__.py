"""What the site adds to Python-Markdown. It is not in the wheel."""
