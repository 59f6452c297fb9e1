"""Maps from files of any convention: what a file is, what it holds, and one source over many."""
