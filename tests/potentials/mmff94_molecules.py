"""Molecules for comparing MMFF94 with RDKit, as SMILES, by what each group tries."""

# ruff: noqa: SIM905 - a list of quoted strings would be one a line.

SMALL = """
O [Na+] [Cl-] [NH4+] [OH3+] [OH-] N C P S [SiH4] FF ClCl FCl BrBr OO NN NO CO CS CC C=C C#C C=O C#N
O=C=O S=C=S N#N C[O-] C[S-] SS C=[NH2+] C=S
""".split()

LINEAR = """
CC#N CC#CC C=C=C C=C=C=C CN=C=O CN=C=S CN=[N+]=[N-] C[N+]#[C-] C=[N+]=[N-] [N-]=[N+]=[N-] C#CC#C
N#CC#N CC=C=O O=C=C=C=O C[N+]#N c1ccccc1[N+]#N CC#[N+][O-] N#CO [O-]C#N [S-]C#N c1ccccc1C#N
CCC#CCC CC(=C=CC)C FC#CF
""".split()

RINGS = """
C1CC1 C1=CC1 C1CO1 C1CN1 C1CS1 C1=CO1 C1CCC1 C1=CCC1 C1CCO1 O=C1CCN1 C1CC1C1CC1 C1CC2CC12 C1C2CC1C2
C12C3C4C1C5C2C3C45 C1CC12CC2 C1CC12CCC2 O=C1CC1 C1CCCCC1 C1=CCCCC1 C1CC2CCC1C2 C1C2CC3CC1CC(C2)C3
C1CCC2(CC1)CCCC2 C1COCCOCCOCCO1 O=C1C=CC=CC=C1 C1=CC=CC=CC=C1 C1CN2CCN1CC2 CC1(C)C2CCC1(C)C(=O)C2
""".split()

AROMATIC = """
c1ccccc1 c1ccncc1 c1cc[nH]c1 c1ccoc1 c1ccsc1 c1c[nH]cn1 c1cnoc1 c1cnsc1 c1nnn[nH]1 c1ncncn1 c1nnco1
c1ccc2ccccc2c1 c1ccc2[nH]ccc2c1 c1cnc2ccccc2n1 Cn1cnc2c1c(=O)n(C)c(=O)n2C c1cc[nH+]cc1 C[n+]1ccccc1
c1c[nH]c[nH+]1 Cn1cc[n+](C)c1 [O-][n+]1ccccc1 c1cc[n-]c1 c1ccc(cc1)-c1ccccc1 [O-]c1ccccc1 Nc1ccccc1
c1ccc2c(c1)oc1ccccc12 O=c1cc[nH]cc1 O=c1ccocc1 c1cn2ccccc2n1 Nc1ncnc2[nH]cnc12 c1ccc2nsnc2c1
""".split()

GROUPS = """
CC(=O)[O-] CC(=O)O CC(N)=O CC(=O)N(C)C C[N+](=O)[O-] c1ccccc1[N+](=O)[O-] C[N+](C)(C)[O-] CC=NO
CS(C)=O CS(C)(=O)=O CS(=O)(=O)N CS(=O)(=O)[O-] CS(=O)(=O)[N-]C CS(=O)[O-] COS(=O)(=O)OC
CN=S(C)(C)=O CP(C)(C)=O CP(C)C COP(=O)(OC)OC COP(=O)([O-])OC COP(=O)([O-])[O-] C[P+](C)(C)C
CP(=S)(C)C [O-]Cl(=O)(=O)=O NC(=[NH2+])N CC(N)=[NH2+] C[NH3+] C[N+](C)(C)C [NH3+]CC(=O)[O-]
[NH3+]C(CC(=O)[O-])C(=O)[O-] CNC(=O)NC FC(F)(F)C(F)(F)F ClC(Cl)(Cl)Cl BrC(Br)Br CI FC(Cl)(Br)I
C=CCl IC=CI CC(=O)Cl O=C(F)F CC(C)(C)C C[Si](C)(C)C C[Si](C)(O)O CC(=O)SC CC(=S)N CSSC CC=O
CC(C)=O COC(C)=O CC(=O)OC(C)=O C=CC=C C=CC=O C=CN(C)C CC(=O)C=C(C)[O-] NC(=O)C=C CN=NC CNN
CN(C)N=O CON=O CO[N+](=O)[O-] C=NC CC(C)=NC OC(=O)C(O)C(O)C(=O)O OCC1OC(O)C(O)C(O)C1O C1CCNCC1
C[NH+]1CCOCC1 CN(C)C(=O)C=CC1=CC=CO1 CC(=O)C(=O)[O-] N#CC(C#N)=C(C#N)C#N O=C1NC(=O)C=C1
O=C1NC(=O)NC(=O)C1 c1ccc(cc1)P(c1ccccc1)c1ccccc1
""".split()

COMPLEXES = """
O.O [Na+].[Cl-] [K+].[Br-] [Na+].O [Li+].O.O [Mg+2].O [Ca+2].[O-]C(C)=O [Zn+2].[Cl-].[Cl-] [Fe+2].O
[Fe+3].[Cl-] [Cu+].[Cl-] [Cu+2].O [F-].O O.c1ccccc1 CC(=O)O.CC(=O)O [NH4+].[O-]C=O C#N.O N.O
CO.C[NH3+] NC(=O)c1ccccc1.O.O.[Na+]
""".split()

DRUGS = """
CC(=O)Oc1ccccc1C(=O)O
CC(C)Cc1ccc(cc1)C(C)C(=O)O
CC(=O)Nc1ccc(O)cc1
Cc1ccc(cc1)-c1cc(nn1-c1ccc(cc1)S(N)(=O)=O)C(F)(F)F
COc1ccc2c(c1)c(CC(=O)O)c(C)n2C(=O)c1ccc(Cl)cc1
CC(C)NCC(O)COc1cccc2ccccc12
CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc12
CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc12
O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O
CCOC(=O)C1=C(C)NC(C)=C(C1c1ccccc1Cl)C(=O)OC
CN1CCN(CC1)C1=Nc2cc(Cl)ccc2Nc2ccccc12
CCN(CC)CCNC(=O)c1ccc(N)cc1
CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)[O-]
CN1CCC23c4c5ccc(O)c4OC2C(O)C=CC3C1C5
CC12CCC3C(CCC4=CC(=O)CCC34C)C1CCC2O
CNCCC(Oc1ccc(cc1)C(F)(F)F)c1ccccc1
Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(n1)-c1cccnc1
COCCOc1cc2ncnc(Nc3cccc(C#C)c3)c2cc1OCCOC
CC(C)c1c(C(=O)Nc2ccccc2)c(-c2ccccc2)c(-c2ccc(F)cc2)n1CCC(O)CC(O)CC(=O)[O-]
CN(C)C(=N)NC(=N)N
NC1=NC(=O)N(C=C1)C1CC(O)C(CO)O1
Cc1cn(C2CC(N=[N+]=[N-])C(CO)O2)c(=O)[nH]c1=O
CCCc1nn(C)c2c1nc([nH]c2=O)-c1cc(ccc1OCC)S(=O)(=O)N1CCN(C)CC1
Clc1ccc(cc1)C(N1CCN(CCOCC(=O)O)CC1)c1ccccc1
OC(=O)C1CCCN1C(=O)C(CS)Cc1ccccc1
Fc1ccc(cc1)C(=O)CCCN1CCC(O)(CC1)c1ccc(Cl)cc1
Nc1ncnc2n(cnc12)C1OC(COP(=O)([O-])OP(=O)([O-])OP(=O)([O-])[O-])C(O)C1O
""".split()

LARGE = """
NC(C)C(=O)NC(Cc1ccccc1)C(=O)NCC(=O)NC(CO)C(=O)NC(CC(C)C)C(=O)NC(CCCC[NH3+])C(=O)N1CCCC1C(=O)[O-]
CCCCCCCCCCCCCCCC(=O)OCC(OC(=O)CCCCCCCC=CCCCCCCCC)COP(=O)([O-])OCC[N+](C)(C)C
""".split()

MOLECULES = SMALL + LINEAR + RINGS + AROMATIC + GROUPS + COMPLEXES + DRUGS + LARGE
