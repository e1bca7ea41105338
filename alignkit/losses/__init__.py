"""Losses: what is minimised, given the scores of a batch. Token weights are already inside the scores."""

from __future__ import annotations

from typing import Annotated

from alignkit.losses.base import Loss
from alignkit.registry import Registry

losses: Registry[Loss] = Registry(
    "loss",
    Loss,
    {
        "sft": "alignkit.losses.sft:SFT",
        "dpo": "alignkit.losses.dpo:DPO",
        "weighted_dpo": "alignkit.losses.dpo:DPO",
        "robust": "alignkit.losses.robust:Robust",
        "hinge": "alignkit.losses.hinge:Hinge",
        "ipo": "alignkit.losses.ipo:IPO",
        "sigmoid_norm": "alignkit.losses.sigmoid_norm:SigmoidNorm",
        "simpo": "alignkit.losses.simpo:SimPO",
        "orpo": "alignkit.losses.orpo:ORPO",
        "cpo": "alignkit.losses.cpo:CPO",
        "tpo": "alignkit.losses.tpo:TPO",
        "tpo_l": "alignkit.losses.tpo_l:TPOL",
        "tdpo": "alignkit.losses.tdpo:TDPO",
        "tis_dpo": "alignkit.losses.tis_dpo:TISDPO",
        "cdpo": "alignkit.losses.cdpo:CDPO",
        "kto": "alignkit.losses.kto:KTO",
        "nll": "alignkit.losses.nll:NLL",
        "calibrated_nll": "alignkit.losses.calibrated_nll:CalibratedNLL",
        "triplet": "alignkit.losses.triplet:Triplet",
        "policy_gradient": "alignkit.losses.policy_gradient:PolicyGradient",
        "dpop": "alignkit.losses.dpop:DPOP",
        "alphapo": "alignkit.losses.alphapo:AlphaPO",
        "repo": "alignkit.losses.repo:RePO",
        "cal_dpo": "alignkit.losses.cal_dpo:CalDPO",
        "r_dpo": "alignkit.losses.r_dpo:RDPO",
        "apo": "alignkit.losses.apo:APO",
        "apo_unpaired": "alignkit.losses.apo_unpaired:APOUnpaired",
        "nca": "alignkit.losses.nca:NCA",
        "exo": "alignkit.losses.exo:EXO",
        "discopop": "alignkit.losses.discopop:DiscoPOP",
        "f_dpo": "alignkit.losses.f_dpo:FDPO",
        "sppo": "alignkit.losses.sppo:SPPO",
        "bco": "alignkit.losses.bco:BCO",
        "bco_unpaired": "alignkit.losses.bco_unpaired:BCOUnpaired",
        "aot": "alignkit.losses.aot:AOT",
        "beta_dpo": "alignkit.losses.beta_dpo:BetaDPO",
        "chi_po": "alignkit.losses.chi_po:ChiPO",
        "epsilon_dpo": "alignkit.losses.epsilon_dpo:EpsilonDPO",
        "alpha_dpo": "alignkit.losses.alpha_dpo:AlphaDPO",
        "gamma_po": "alignkit.losses.gamma_po:GammaPO",
        "kl_off": "alignkit.losses.kl_off:KLOff",
    },
)

LossSlot = Annotated[Loss, losses]
"""A recipe slot that holds a loss."""
