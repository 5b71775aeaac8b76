# chainrule on a CUDA GPU. Build it from the root of the checkout; docker/README.md says how.
# docker/try-steps runs the same steps without Docker: change both together.

# A slim base and NVIDIA's wheels, not nvidia/cuda:*-runtime: that image has no CUDA headers, and CuPy compiles kernels
# that include them while it runs (https://github.com/cupy/cupy/issues/8466). The driver, libcuda.so.1, is the host's.
# A tag and no digest: with --pull a build takes the base's latest security fixes, so two builds need not be equal.
FROM python:3.12-slim-bookworm AS build
# cuda13x: driver 580 or newer, Turing cards or newer. cuda12x: driver 525 or newer. Never both: their files collide.
ARG CUDA_EXTRA=cuda13x
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
# The base's pip fills the environment from outside, so nothing that builds or installs is copied below.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
    && python -m venv --without-pip /opt/chainrule \
    && pip --python /opt/chainrule install --no-cache-dir "$(echo /dist/chainrule-*.whl)[$CUDA_EXTRA]" \
    && pip --python /opt/chainrule check
# Missing headers and libraries show without a GPU, so they fail the build.
COPY docker/check_cuda.py /check_cuda.py
RUN ["/opt/chainrule/bin/python", "/check_cuda.py"]

# The same base again: the environment's python is a link into it.
FROM python:3.12-slim-bookworm
COPY --from=build /opt/chainrule /opt/chainrule
# The NVIDIA Container Toolkit reads the first two. Unset, the capabilities may be `utility` alone: nvidia-smi
# works and libcuda.so.1 is missing. CuPy's default cache lies in the home directory, which a bare user id lacks.
ENV PATH=/opt/chainrule/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    CUPY_CACHE_DIR=/var/cache/cupy \
    CHAINRULE_CACHE_DIR=/var/cache/chainrule
# Writable for every user: `docker run --user` brings an id that nobody knows at build time.
RUN install -d -m 1777 /work /var/cache/cupy /var/cache/chainrule
WORKDIR /work
# A number and no name: Kubernetes' runAsNonRoot can check it, and /etc/passwd needs no line.
USER 10001:10001
# An image that cannot start fails here and not at its first run.
RUN ["chainrule", "--version"]
ENTRYPOINT ["chainrule"]
CMD ["--help"]
