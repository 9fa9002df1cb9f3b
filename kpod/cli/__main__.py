from kpod.cli.app import main

main()
