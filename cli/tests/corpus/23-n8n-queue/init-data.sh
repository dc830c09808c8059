#!/bin/bash
set -e;

echo "SETUP INFO: No Environment variables given!"
