"""Tables, Markdown and HTML from capsules and matrix rows; shows what others decided."""
