-- The second database; the first is made by the image itself.
CREATE DATABASE mlflow OWNER kpod;
