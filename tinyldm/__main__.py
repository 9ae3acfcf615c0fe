from tinyldm.cli import main

main()
