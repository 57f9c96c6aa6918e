# Draws what the collector has kept into $RESULTS, where there is such a place.
set -e
cat "$LAB_DIR/delay.json" > /dev/null # it is there
if [ -n "${RESULTS-}" ]; then
    cp "$LAB_DIR/delay.json" "$RESULTS/delay.json"
    nfc delay plot "$RESULTS/delay.json" -o "$RESULTS/delay.svg" --title "Three links, 1 in 10 measured"
else
    echo "with --results DIR it is drawn there"
fi
