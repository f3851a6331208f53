"""Videos of moving shapes, drawn by the project itself."""

from .dataset import MovingShapesDataset

__all__ = ['MovingShapesDataset']
