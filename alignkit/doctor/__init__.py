"""Doctor: checks of preference data before training, a slot; they say what they find and never change a row."""

from __future__ import annotations

from alignkit.doctor.base import Check
from alignkit.registry import Registry

checks: Registry[Check] = Registry(
    "check",
    Check,
    {
        "unusable": "alignkit.doctor.unusable:UnusableRows",
        "same_response": "alignkit.doctor.same_response:SameResponse",
        "contradictions": "alignkit.doctor.contradictions:Contradictions",
        "duplicates": "alignkit.doctor.duplicates:Duplicates",
        "near_duplicates": "alignkit.doctor.near_duplicates:NearDuplicates",
        "leakage": "alignkit.doctor.leakage:Leakage",
        "overlap": "alignkit.doctor.overlap:Overlap",
        "length_bias": "alignkit.doctor.length_bias:LengthBias",
        "format_bias": "alignkit.doctor.format_bias:FormatBias",
        "manners": "alignkit.doctor.manners:Manners",
        "shortcut": "alignkit.doctor.shortcut:Shortcut",
        "round_trip": "alignkit.doctor.round_trip:RoundTrip",
        "truncation": "alignkit.doctor.truncation:Truncation",
        "edit_distance": "alignkit.doctor.edit_distance:EditDistance",
        "languages": "alignkit.doctor.languages:Languages",
        "characters": "alignkit.doctor.characters:Characters",
        "personal_data": "alignkit.doctor.personal_data:PersonalData",
        "displacement": "alignkit.doctor.displacement:Displacement",
        "already_solved": "alignkit.doctor.already_solved:AlreadySolved",
        "label_noise": "alignkit.doctor.label_noise:LabelNoise",
    },
)
