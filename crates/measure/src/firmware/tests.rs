use super::*;

const ONE: Guid = Guid::new(0x1111_1111, 0x2222, 0x3333, [4; 8]);

/// An image of one page with `table` before its footer.
fn image(table: &[u8]) -> Vec<u8> {
    let mut image = vec![0xAA; PAGE];
    let end = PAGE - AFTER_TABLE;
    let mut whole = table.to_vec();
    whole.extend(
        u16::try_from(table.len() + ENTRY_HEADER)
            .unwrap()
            .to_le_bytes(),
    );
    whole.extend(FOOTER.0);
    image[end - whole.len()..end].copy_from_slice(&whole);
    image
}

fn entry(guid: Guid, data: &[u8]) -> Vec<u8> {
    let mut entry = data.to_vec();
    entry.extend(
        u16::try_from(data.len() + ENTRY_HEADER)
            .unwrap()
            .to_le_bytes(),
    );
    entry.extend(guid.0);
    entry
}

#[test]
fn entries_are_found_by_their_guid() {
    let other = Guid::new(5, 6, 7, [8; 8]);
    let table = [entry(ONE, &16_u32.to_le_bytes()), entry(other, b"data")].concat();
    let image = image(&table);
    let firmware = Firmware::parse(&image).unwrap();
    assert_eq!(firmware.address(), 0xffff_f000);
    assert_eq!(firmware.entry(other), Some(&b"data"[..]));
    assert_eq!(firmware.entries().count(), 2);
    assert_eq!(
        firmware.pointed_at(ONE).unwrap().unwrap(),
        &image[PAGE - 16..]
    );
    assert_eq!(firmware.pointed_at(FOOTER).unwrap(), None);
    assert_eq!(ONE.to_string(), "11111111-2222-3333-0404-040404040404");
}

#[test]
fn each_defect_has_its_error() {
    let refused = |image: &[u8]| Firmware::parse(image).unwrap_err();
    assert_eq!(refused(&[]), FirmwareError::Unaligned { size: 0 });
    assert_eq!(refused(&[0; 100]), FirmwareError::Unaligned { size: 100 });
    assert_eq!(refused(&[0; PAGE]), FirmwareError::NoTable);
    let large = vec![0; MAX_FIRMWARE + PAGE];
    assert_eq!(
        refused(&large),
        FirmwareError::TooLarge { size: large.len() }
    );

    let mut bad = image(&[]);
    let at = PAGE - AFTER_TABLE - ENTRY_HEADER;
    for size in [0_u16, 17, 0xffff] {
        bad[at..at + 2].copy_from_slice(&size.to_le_bytes());
        assert_eq!(
            refused(&bad),
            FirmwareError::TableSize { size: size.into() }
        );
    }
    assert_eq!(
        refused(&image(&[1, 2, 3])),
        FirmwareError::EntrySize { size: 3, left: 3 }
    );
    for size in [0_u16, 17, 19] {
        let mut table = entry(ONE, b"");
        table[..2].copy_from_slice(&size.to_le_bytes());
        assert_eq!(
            refused(&image(&table)),
            FirmwareError::EntrySize {
                size: size.into(),
                left: 18
            }
        );
    }
    let twice = [entry(ONE, b""), entry(ONE, b"x")].concat();
    assert_eq!(
        refused(&image(&twice)),
        FirmwareError::Duplicate { guid: ONE }
    );
    let many: Vec<u8> = (0..65)
        .flat_map(|n| entry(Guid::new(n, 0, 0, [0; 8]), b""))
        .collect();
    assert_eq!(refused(&image(&many)), FirmwareError::TooManyEntries);

    let short = image(&entry(ONE, b"abc"));
    assert_eq!(
        Firmware::parse(&short).unwrap().pointed_at(ONE),
        Err(FirmwareError::EntryData { guid: ONE, size: 3 })
    );
    let far = image(&entry(ONE, &4097_u32.to_le_bytes()));
    assert_eq!(
        Firmware::parse(&far).unwrap().pointed_at(ONE),
        Err(FirmwareError::Offset {
            guid: ONE,
            offset: 4097
        })
    );
}
