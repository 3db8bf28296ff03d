# syntax=docker/dockerfile:1
# docker build --tag podveil/podveil:0.1.0 .
#
# The release fills in the digest of the base for the platforms that it builds: debian:12.11-slim@sha256:…
ARG BASE=debian:12.11-slim

FROM ${BASE} AS build
# The npm that Debian has is only there to follow the lock file, which brings the Node.js that runs everything, with its
# integrity, and the headers for the socket addon.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN node_modules/.bin/node wg/native/build.mjs \
 && node_modules/.bin/node scripts/bundle.mjs --out /out/opt/podveil \
 && rm /out/opt/podveil/metafile.json \
 && install -D "$(readlink -f node_modules/.bin/node)" /out/usr/local/bin/node \
 && install -m 0644 LICENSE /out/opt/podveil/ \
 && ln -s /opt/podveil/podveil /out/usr/local/bin/podveil

FROM ${BASE}
LABEL org.opencontainers.image.title="Podveil" \
      org.opencontainers.image.description="WireGuard encryption mesh for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
# nft does the packet filter, wireguard-go the tunnel where the kernel has none; wg and ip are for whoever looks inside.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends iproute2 libstdc++6 nftables wireguard-go wireguard-tools \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
COPY --from=build /out /
# What it is made of: /opt/podveil/sbom.cdx.json of the program (scripts/sbom.mjs), and of the Debian packages /var/lib/dpkg/status,
# which scanners of images read. `docker buildx build --sbom=true` attaches both to the image.
ENV NODE_ENV=production
# Root, because NET_ADMIN in the host's network is a capability of the host's root alone; the manifest takes all others
# away and mounts this file system read-only. Commands that only ask the API server run as any user:
#   docker run --rm --user 65534 … status
USER 0:0
ENTRYPOINT ["podveil"]
CMD ["agent"]
