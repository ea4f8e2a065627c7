"""Tables of measured models: rows, how they are made again, nets trained for one, the law between them."""
