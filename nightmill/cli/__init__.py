"""The command line: one module a verb, each a thin layer over the rooms below."""
