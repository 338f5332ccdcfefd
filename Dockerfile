# syntax=docker/dockerfile:1
# Both images from one build:
#   docker build --target operator -t peat-operator:0.1.0 .
#   docker build --target node     -t peat-node:0.1.0 .

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The mounts keep crates and objects between builds; what is wanted is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package peat-operator --package peat-node \
    && install -D -t /out/operator/usr/bin target/release/peat-operator \
    && install -D -t /out/node/usr/bin target/release/peat-node
# The shared libraries and the loader, and nothing else that runs: no shell, no package manager.
RUN for root in /out/operator /out/node; do \
      ldd "$root"/usr/bin/* | grep -o '/[^ ]*' | xargs -I{} cp --parents -L {} "$root"; \
      mkdir -p "$root/tmp" "$root/etc" && chmod 1777 "$root/tmp" \
      && echo 'peat:x:65532:65532::/:/none' > "$root/etc/passwd"; \
    done

# Backtraces of a panic would load the symbol tables for good; the message and the place are in the log without them.
FROM scratch AS operator
COPY --from=build /out/operator /
ENV PATH=/usr/bin RUST_BACKTRACE=0
USER 65532:65532
ENTRYPOINT ["/usr/bin/peat-operator"]

FROM scratch AS node
COPY --from=build /out/node /
ENV PATH=/usr/bin RUST_BACKTRACE=0
USER 65532:65532
ENTRYPOINT ["/usr/bin/peat-node"]
