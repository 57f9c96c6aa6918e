"""What a function does to a packet, in plain sentences and as a picture, and what it costs.

`words` puts values and conditions into words, `sentences` edits and verdicts; `cost` reads the
object, `needs` the tables of facts; `report` puts them together, `graph` draws them.
"""
