# docker build --tag shoal .
# docker run --rm --publish 8001:8001 --volume "$PWD/models:/models:ro" shoal --insecure
# With certificates in place of --insecure: --volume "$PWD/certs:/certs:ro" --env SHOAL_TLS__CERTIFICATE=/certs/server.pem
# --env SHOAL_TLS__KEY=/certs/server.key --env SHOAL_TLS__CLIENT_CA=/certs/ca.pem
ARG PYTHON_VERSION=3.11

FROM rust:1-slim AS rust

FROM python:${PYTHON_VERSION}-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
# For the native transport; the image that is served has nothing of it but the library.
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
WORKDIR /build
COPY . .
# The same target as on any other machine: versions and hashes come from requirements.lock.
RUN make install-server PREFIX=/opt/shoal

FROM python:${PYTHON_VERSION}-slim
# ONNX Runtime's StringNormalizer, which scikit-learn's text models use, asks for this locale and does not load without.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends locales \
    && echo "en_US.UTF-8 UTF-8" > /etc/locale.gen \
    && locale-gen \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin shoal
COPY --from=build /opt/shoal /opt/shoal
ENV PATH=/opt/shoal/bin:$PATH
USER 10001
EXPOSE 8001
# As variables, so that `shoal health` in the container knows them too. Probes are answered without certificates.
ENV SHOAL_MODELS=/models SHOAL_ADDRESS=0.0.0.0:8001 SHOAL_PROBE__ADDRESS=127.0.0.1:8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["shoal", "health"]
# Further options go after the image's name. It serves other machines, so it asks for certificates or `--insecure`.
ENTRYPOINT ["shoal", "serve"]
