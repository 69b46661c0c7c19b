"""Tables for programs that do not read YAML."""
