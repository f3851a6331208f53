"""Text-video retrieval for OpenMMLab: DMAE, NegNCE, TPM-CL as parts."""

__version__ = '0.1.0'
