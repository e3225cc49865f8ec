"""The only place that loads Keras and TensorFlow; `python -m medwb.training RUN_DIR` trains a run folder."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up lines tell a user nothing
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # scans are augmented on threads of our own
