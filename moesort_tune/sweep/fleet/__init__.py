"""Workers on several cards: of this machine, or of a Ray cluster."""
