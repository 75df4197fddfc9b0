"""What sentences are made of: the tables of the grammar, and how a clause is read by them."""
