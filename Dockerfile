# docker build --build-arg RUST_IMAGE=rust:1.95-alpine@sha256:... --tag REGISTRY/vault-connection-operator:0.1.0 .
#
# RUST_IMAGE is the image to build in, with its digest: a tag can be moved, a digest cannot. It has no default, because a
# digest that nobody has compared is worth nothing; the README shows how to look it up. A build without a digest fails.
#
# The result holds one static binary, the CA certificates of Alpine and the licences, and runs as a user without a name.

ARG RUST_IMAGE

FROM ${RUST_IMAGE} AS build
ARG RUST_IMAGE
RUN printf '%s' "$RUST_IMAGE" | grep -Eq '@sha256:[0-9a-f]{64}$' || { echo "RUST_IMAGE needs a digest: NAME@sha256:DIGEST" >&2; exit 1; }
# ring compiles C and assembly; the targets of this image link statically by default.
# Python gathers the licences of what is linked.
RUN apk add --no-cache ca-certificates gcc musl-dev python3
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin vault-connection-operator \
    && cp target/release/vault-connection-operator / \
    && python3 hack/lib/third-party.py notices >/THIRD-PARTY-NOTICES.txt

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/LICENSE /LICENSE
COPY --from=build /THIRD-PARTY-NOTICES.txt /THIRD-PARTY-NOTICES.txt
COPY --from=build /vault-connection-operator /vault-connection-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/vault-connection-operator"]
CMD ["run"]
