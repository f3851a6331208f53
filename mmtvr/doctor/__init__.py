"""Find out why a machine cannot train or search: ``python -m mmtvr.doctor``.

Nothing heavy is imported before the check that needs it, so that the doctor
starts where PyTorch or mmengine are missing or broken.
"""
