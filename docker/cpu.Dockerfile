# chainrule on the CPU. Build it from the root of the checkout; docker/README.md says how.
# docker/try-steps runs the same steps without Docker: change both together.

# A tag and no digest: with --pull a build takes the base's latest security fixes, so two builds need not be equal.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
# The base's pip fills the environment from outside, so nothing that builds or installs is copied below.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
    && python -m venv --without-pip /opt/chainrule \
    && pip --python /opt/chainrule install --no-cache-dir /dist/chainrule-*.whl \
    && pip --python /opt/chainrule check

# The same base again: the environment's python is a link into it.
FROM python:3.12-slim-bookworm
COPY --from=build /opt/chainrule /opt/chainrule
ENV PATH=/opt/chainrule/bin:$PATH
# Writable for every user: `docker run --user` brings an id that nobody knows at build time.
RUN install -d -m 1777 /work
WORKDIR /work
# A number and no name: Kubernetes' runAsNonRoot can check it, and /etc/passwd needs no line.
USER 10001:10001
# An image that cannot start fails here and not at its first run.
RUN ["chainrule", "--version"]
ENTRYPOINT ["chainrule"]
CMD ["--help"]
