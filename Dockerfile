# A small image with the one binary, run by a user without rights.
#
#   docker build -t aiq .
#
# Where the usual base images can't be pulled, name others: any with cargo and a C compiler to build,
# any with glibc to run.
#
#   docker build -t aiq --build-arg BUILD_IMAGE=my-rust --build-arg RUN_IMAGE=my-debian .

ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM ${RUN_IMAGE}
COPY --from=build /src/target/release/aiq /usr/local/bin/aiq
# Numbers, so that no user database is needed. The folder is where logs and downloaded models go.
RUN mkdir -p /data && chown 10001:10001 /data
USER 10001:10001
WORKDIR /data
ENV AIQ_HOST=0.0.0.0 HF_HOME=/data/huggingface
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["aiq", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["aiq"]
# Inside a container the fleet is as private as the ports that are published.
CMD ["up", "--insecure"]
