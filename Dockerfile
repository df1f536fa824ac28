# One image for head, workers, jobs, mirror and MLflow: locked packages and this project, without root.
#   docker build -t genlib .
#   docker run --rm -v runs:/runs genlib experiments/sweep_diffusion.py
# Heads and workers need a token: cluster/deploy has files that start them.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 genlib && install --directory --owner genlib /runs /artifacts
WORKDIR /app

# Every package in its exact version, by its hash; only a change of versions makes this layer anew.
COPY cluster/deploy/requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock

COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

ENV OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 GENLIB_STORAGE=/runs RAY_AUTH_MODE=token \
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER genlib
VOLUME /runs
ENTRYPOINT ["python"]
CMD ["experiments/sweep_diffusion.py"]
