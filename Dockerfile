# A service of one bundle, without torch: docker build --tag strided .
# Pin the base by its digest, and build anew when it is mended.
FROM python:3.11-slim AS build
WORKDIR /source
RUN python -m venv /opt/strided
COPY requirements-serve.txt constraints.txt ./
# DICOM and PostgreSQL, too
RUN /opt/strided/bin/pip install --no-cache-dir --constraint constraints.txt \
    --requirement requirements-serve.txt \
    pg8000 pydicom pylibjpeg pylibjpeg-openjpeg pylibjpeg-rle
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY src src
RUN /opt/strided/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin strided \
    && install --directory --owner=strided --group=strided --mode=0700 /state /logs
COPY --from=build /opt/strided /opt/strided
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
EXPOSE 8000
VOLUME ["/state", "/logs"]
# /livez, not /readyz: a full queue is no reason to end a service
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/strided/bin/python", "-c", "import ssl, urllib.request as web; web.urlopen('https://127.0.0.1:8000/livez', timeout=4, context=ssl._create_unverified_context())"]
ENTRYPOINT ["/opt/strided/bin/strided"]
CMD ["serve", "bundle=/registry/model", "host=0.0.0.0", "tls.cert=/run/secrets/tls_cert", "tls.key=/run/secrets/tls_key", "state=/state", "log_dir=/logs"]
