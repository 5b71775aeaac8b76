"""What to install for CUDA: the commands that error messages give."""

from __future__ import annotations

from typing import Final

CUPY: Final = "pip install 'chainrule[cuda13x]' (driver 580 or newer) or 'chainrule[cuda12x]' (driver 525 or newer)"
CUDA_LIBRARIES: Final = "pip install 'cuda-toolkit[cublas,cudart,nvrtc]==13.*' (12.* for cupy-cuda12x)"
