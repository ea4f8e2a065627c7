"""What the sources say, as data (`*.yaml`), and the one judge of it.

`entries.read_claims` reads the files, `judging.judge` holds claims against records, `wording` says it in one way. A new
claim is an entry of a YAML file; a new number to judge by is a function in `claims.statistics`.
"""
