"""The pictures in the README and the manual: `python docs/make_images.py`, after a change of the drawing."""

import pathlib

import chainrule as cr

folder = pathlib.Path(__file__).parent / "images"
folder.mkdir(exist_ok=True)

x, y, z = (cr.tensor(value, requires_grad=True) for value in (-2.0, 5.0, -4.0))
cr.draw(lambda x, y, z: (x + y) * z, x, y, z).save(folder / "chain_rule.svg")
