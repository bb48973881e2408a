"""Charts of answers: what is drawn, and its SVG."""
