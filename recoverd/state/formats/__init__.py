"""The formats of documents: what each takes for valid, and where and how a damaged one is damaged."""
