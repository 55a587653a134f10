# docker build --tag REGISTRY/vault-connection-operator:0.1.0 .
#
# The result holds one static binary and the CA certificates of Alpine, and runs as a user without a name.

FROM rust:1.95-alpine AS build
# ring compiles C and assembly; the targets of this image link statically by default.
RUN apk add --no-cache ca-certificates gcc musl-dev
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin vault-connection-operator \
    && cp target/release/vault-connection-operator /

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/LICENSE /LICENSE
COPY --from=build /vault-connection-operator /vault-connection-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/vault-connection-operator"]
CMD ["run"]
