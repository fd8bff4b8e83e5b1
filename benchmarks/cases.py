"""Structures that several benchmarks use, from seeds."""

import pathlib
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np

import kups_relax as kr

ARGON = {"epsilon": 0.0104, "sigma": 3.40}
MOLECULES = pathlib.Path(__file__).parent.parent / "examples" / "molecules.smi"

# Drug-like molecules of 39 to 49 atoms.
DRUGS = {
    "atropine": "CN1C2CCC1CC(C2)OC(=O)C(CO)c1ccccc1",
    "metoprolol": "CC(C)NCC(O)COc1ccc(CCOC)cc1",
    "citalopram": "CN(C)CCCC1(c2ccc(F)cc2)OCc2cc(C#N)ccc21",
    "codeine": "CN1CCC23c4c5ccc(OC)c4OC2C(O)C=CC3C1C5",
    "clozapine": "CN1CCN(CC1)C1=Nc2cc(Cl)ccc2Nc2ccccc12",
    "sulpiride": "CCN1CCCC1CNC(=O)c1cc(ccc1OC)S(N)(=O)=O",
    "haloperidol": "OC1(CCN(CCCC(=O)c2ccc(F)cc2)CC1)c1ccc(Cl)cc1",
    "venlafaxine": "COc1ccc(cc1)C(CN(C)C)C1(O)CCCCC1",
    "zolpidem": "Cc1ccc(cc1)-c1nc2ccc(C)cn2c1CC(=O)N(C)C",
    "ropivacaine": "CCCN1CCCCC1C(=O)Nc1c(C)cccc1C",
}

# Ten more of 33 to 50 atoms: with them, twenty of 30 to 60.
MORE_DRUGS = {
    "celecoxib": "Cc1ccc(cc1)-c1cc(nn1-c1ccc(cc1)S(N)(=O)=O)C(F)(F)F",
    "tolbutamide": "CCCCNC(=O)NS(=O)(=O)c1ccc(C)cc1",
    "fluoxetine": "CNCCC(Oc1ccc(cc1)C(F)(F)F)c1ccccc1",
    "warfarin": "CC(=O)CC(c1ccccc1)C1=C(O)c2ccccc2OC1=O",
    "oseltamivir": "CCOC(=O)C1=CC(OC(CC)CC)C(NC(C)=O)C(N)C1",
    "penicillin G": "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "ciprofloxacin": "O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O",
    "estradiol": "C[C@]12CC[C@H]3[C@@H](CCc4cc(O)ccc34)[C@@H]1CC[C@@H]2O",
    "bromhexine": "CN(Cc1cc(Br)cc(Br)c1N)C1CCCCC1",
    "loratadine": "CCOC(=O)N1CCC(=C2c3ccc(Cl)cc3CCc3cccnc32)CC1",
}


def argon_clusters(n: int, sizes: Sequence[int], seed: int = 0) -> list[ase.Atoms]:
    """Make random clusters in which no two atoms start closer than 0.85 sigma."""
    random = np.random.default_rng(seed)
    shortest = 0.85 * ARGON["sigma"]
    clusters = []
    for size in random.choice(sizes, size=n):
        edge = ARGON["sigma"] * 1.05 * size ** (1 / 3)
        points = np.empty((0, 3))
        while len(points) < size:
            trial = random.uniform(0, edge, 3)
            if (np.linalg.norm(points - trial, axis=1) >= shortest).all():
                points = np.vstack([points, trial])
            elif random.random() < 0.002:
                edge *= 1.02
        clusters.append(ase.Atoms(f"Ar{size}", points))
    return clusters


def conformers(smiles: str, n: int, seed: int = 7) -> Any:
    """Embed a molecule n times by ETKDG; an RDKit Mol with hydrogens."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    parameters = AllChem.ETKDGv3()
    parameters.randomSeed = seed
    AllChem.EmbedMultipleConfs(mol, n, parameters)
    return mol


def argon() -> kr.potentials.LennardJones:
    """Make the potential of the clusters."""
    return kr.potentials.LennardJones(**ARGON)
