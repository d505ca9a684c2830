"""Finds the weights to measure and says what identifies them. The tiny trained models lie beside this file."""
