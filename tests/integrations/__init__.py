"""The serving integrations, against a stand-in for AITER."""
