"""The other side of predicting.py: `predicting_keras.py MODEL FOLDER OUT` answers a folder with Keras alone."""

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np


def main() -> None:
    """Load the model, answer the files, say how many a second."""
    model, folder, out = sys.argv[1:]
    network = keras.models.load_model(model, compile=False)
    height, width, channels = network.input_shape[1:]
    started = time.perf_counter()
    files = keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        color_mode="grayscale" if channels == 1 else "rgb",
        batch_size=256,
        image_size=(height, width),
        shuffle=False,
        verbose=False,
    )
    scores = network.predict(files, verbose=0)
    seconds = time.perf_counter() - started
    np.savez(out, scores=scores)
    print(json.dumps({"a_second": len(scores) / seconds}))


if __name__ == "__main__":
    main()
