"""The type checker that the tests lay under genlib: an int where a float is asked is fine, as everywhere in Python."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
