"""Report of the attached GPUs and installed software, their problems and the remedies."""
