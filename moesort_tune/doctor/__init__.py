"""Report what is attached and installed, what is wrong with it and how to put it right."""
