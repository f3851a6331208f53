"""Text-video retrieval for OpenMMLab: DMAE, NegNCE and TPM-CL as components."""

__version__ = '0.1.0'
