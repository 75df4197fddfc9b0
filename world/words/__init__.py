"""The grammar of sentences: its tables, and how a clause is read."""
