# Writes a page with the time into the shared volume, once a second.
trap 'exit 0' TERM
echo "writing the time for $GREETER"
while true; do
    {
        echo '<!doctype html><meta charset="utf-8"><title>Hello</title>'
        echo '<style>body{font:18px/1.5 system-ui;margin:3rem;color-scheme:light dark}</style>'
        echo "<h1>Hello from $GREETER</h1><p>It is $(date -u '+%H:%M:%S') UTC in the container <code>$(hostname)</code>.</p>"
    } > /www/index.html.new
    mv /www/index.html.new /www/index.html
    sleep 1 &
    wait $!
done
