"""The built-in proving ground: generated text with a known true reward and known critical words, and a tiny model."""

from __future__ import annotations

from alignkit.world.config import WorldConfig as WorldConfig
from alignkit.world.generate import WorldRow as WorldRow
from alignkit.world.generate import generate as generate
from alignkit.world.measure import Kind as Kind
from alignkit.world.measure import advice_words as advice_words
from alignkit.world.measure import kind_of as kind_of
from alignkit.world.measure import reward as reward
from alignkit.world.measure import weight_auc as weight_auc
from alignkit.world.measure import weight_mass as weight_mass
