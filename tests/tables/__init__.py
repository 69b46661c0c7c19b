"""Tables: reading, refusing, storing, merging, exporting."""
