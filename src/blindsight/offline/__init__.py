"""Material: what an inference consumes that needs no input, made beforehand and used exactly once (DESIGN section 6)."""
