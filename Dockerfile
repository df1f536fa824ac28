# One image for head, workers, jobs, mirror and MLflow: locked packages and this project, without root.
#   docker build -t genlib .
#   docker run --rm -v runs:/runs genlib experiments/sweep_diffusion.py
#   docker run --rm -v runs:/runs --entrypoint ray genlib start --head --block
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 genlib && install --directory --owner genlib /runs
WORKDIR /app

# Every package in its exact version, by its hash; only a change of versions makes this layer anew.
COPY cluster/deploy/requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock

COPY . .
RUN pip install --no-cache-dir --no-deps .

ENV OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 GENLIB_STORAGE=/runs RAY_AUTH_MODE=token \
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER genlib
VOLUME /runs
ENTRYPOINT ["python"]
CMD ["experiments/sweep_diffusion.py"]
